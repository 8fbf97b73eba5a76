"""Training: state, optimiser, one step, many steps, evaluation.

It may import core, data and models.
"""

from imp_jax.training.evaluation import evaluate as evaluate
from imp_jax.training.loop import Pipeline as Pipeline
from imp_jax.training.loop import train_steps as train_steps
from imp_jax.training.optimiser import SGD as SGD
from imp_jax.training.optimiser import Recipe as Recipe
from imp_jax.training.optimiser import UpdateRule as UpdateRule
from imp_jax.training.optimiser import init_opt_state as init_opt_state
from imp_jax.training.settings import make_recipe as make_recipe
from imp_jax.training.settings import optim_in_steps as optim_in_steps
from imp_jax.training.state import TrainState as TrainState
from imp_jax.training.state import start_state as start_state
from imp_jax.training.step import train_step as train_step
