"""How weights are found: what one fit does, step by step; the only room that speaks skorch."""

from .architecture import check_parameters, resolve_architecture
from .budget import Budget, resolve_budget, resolve_learning_rate, resolve_weight_decay
from .callbacks import check_callbacks
from .fit import advice_on_memory, fit_run
from .net import build_net
from .settings import TrainSettings
from .split import n_set_aside, split
from .train import sort_components, train_increment
