"""Charts and images of fitted estimators, by their public methods only."""

from .charts import ComponentInformationDisplay, LatentSpaceDisplay, TrainingCurveDisplay
from .reconstruction import ReconstructionDisplay
from .traversal import LatentManifoldDisplay, LatentTraversalDisplay
