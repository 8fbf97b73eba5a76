"""What a study means, from its config to the nodes it is made of.

It may import results and what lies below.
"""

from imp_jax.engine.executor import Progress as Progress
from imp_jax.study.run import Plan as Plan
from imp_jax.study.run import assist as assist
from imp_jax.study.run import execute as execute
from imp_jax.study.run import prepare as prepare
