"""Difficulty scores: one function of one example each, mapped over all.

It may import core, data, statistics, models and training.
"""

from imp_jax.scores.evaluate import gradient_scores as gradient_scores
from imp_jax.scores.evaluate import input_norms as input_norms
from imp_jax.scores.evaluate import observed_streams as observed_streams
from imp_jax.scores.evaluate import output_scores as output_scores
from imp_jax.scores.gradients import (
  standardised_by_class as standardised_by_class,
)
from imp_jax.scores.registry import BATCH_MODE as BATCH_MODE
from imp_jax.scores.registry import SCORES as SCORES
from imp_jax.scores.registry import Definition as Definition
from imp_jax.scores.reliability import reliability as reliability
from imp_jax.scores.streams import NEVER_LEARNED as NEVER_LEARNED
from imp_jax.scores.streams import Streams as Streams
