"""Settings: what a study means, as frozen dataclasses."""

from imp_jax.settings.claims import ClaimSettings as ClaimSettings
from imp_jax.settings.claims import ConnectedClaim as ConnectedClaim
from imp_jax.settings.claims import EasyDataClaim as EasyDataClaim
from imp_jax.settings.claims import LittleDataClaim as LittleDataClaim
from imp_jax.settings.claims import RewindingClaim as RewindingClaim
from imp_jax.settings.diet import NO_NOISE as NO_NOISE
from imp_jax.settings.diet import BarrierScoreSettings as BarrierScoreSettings
from imp_jax.settings.diet import ImportSettings as ImportSettings
from imp_jax.settings.diet import NoiseSettings as NoiseSettings
from imp_jax.settings.diet import PretrainSettings as PretrainSettings
from imp_jax.settings.diet import ScoreSettings as ScoreSettings
from imp_jax.settings.diet import ScoreTraining as ScoreTraining
from imp_jax.settings.diet import ScoringSettings as ScoringSettings
from imp_jax.settings.diet import SubsetSettings as SubsetSettings
from imp_jax.settings.landscape import (
  ConnectivitySettings as ConnectivitySettings,
)
from imp_jax.settings.landscape import CurvatureSettings as CurvatureSettings
from imp_jax.settings.landscape import NoiseBetween as NoiseBetween
from imp_jax.settings.landscape import PathSettings as PathSettings
from imp_jax.settings.landscape import PlaneSettings as PlaneSettings
from imp_jax.settings.study import NAME as NAME
from imp_jax.settings.study import NAME_BYTES as NAME_BYTES
from imp_jax.settings.study import ControlSettings as ControlSettings
from imp_jax.settings.study import EvalSettings as EvalSettings
from imp_jax.settings.study import ExecutionSettings as ExecutionSettings
from imp_jax.settings.study import Experiment as Experiment
from imp_jax.settings.study import PruneSettings as PruneSettings
from imp_jax.settings.study import Study as Study
from imp_jax.settings.study import TicketSettings as TicketSettings
from imp_jax.settings.training import ModelSettings as ModelSettings
from imp_jax.settings.training import OptimSettings as OptimSettings
from imp_jax.settings.training import SplitSettings as SplitSettings
from imp_jax.settings.training import StreamSettings as StreamSettings
from imp_jax.settings.training import model_of as model_of
from imp_jax.settings.training import optim_before as optim_before
