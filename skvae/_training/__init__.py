"""How weights are found: what one fit does, step by step; the only room that speaks skorch."""

from .architecture import check_parameters, check_same_model, has_linear_path, resolve_architecture
from .budget import Budget, resolve_budget, resolve_weight_decay
from .callbacks import WINDOW, check_callbacks, finished_epochs
from .fit import advice_on_memory, fit_run
from .net import TrainSettings, build_net
from .split import n_set_aside, split
from .train import sort_components, train_increment
