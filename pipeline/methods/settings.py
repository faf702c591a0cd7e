"""What `task` may be: the settings of one of the methods."""

from pipeline.methods.decoder.settings import DecoderConfig
from pipeline.methods.latent_action.settings import LatentActionConfig
from pipeline.methods.sequence_labelling.settings import SequenceLabellingConfig
from pipeline.methods.world_model.settings import WorldModelConfig

TaskConfig = LatentActionConfig | WorldModelConfig | SequenceLabellingConfig | DecoderConfig
