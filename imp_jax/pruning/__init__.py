"""Pruning as three pure steps: score, allocate, select; and what must hold.

It may import core, data and models.
"""

from imp_jax.pruning.allocate import ALLOCATIONS as ALLOCATIONS
from imp_jax.pruning.allocate import excluded_count as excluded_count
from imp_jax.pruning.allocate import leaf_groups as leaf_groups
from imp_jax.pruning.criteria import CRITERIA as CRITERIA
from imp_jax.pruning.criteria import Network as Network
from imp_jax.pruning.schedules import drop_counts as drop_counts
from imp_jax.pruning.schedules import level_drops as level_drops
from imp_jax.pruning.schedules import round_drops as round_drops
from imp_jax.pruning.select import RULES as RULES
from imp_jax.pruning.select import select_masks as select_masks
