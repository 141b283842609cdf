"""An ONNX model as a custom MLServer runtime, as its manual shows one; serving.py names it in model-settings.json."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from predictor import Session


class OnnxModel(MLModel):
    """MLServer batches the requests (`max_batch_size`); this runs each batch once."""

    async def load(self) -> bool:
        self.model = Session(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        probabilities = self.model.predict_proba(NumpyCodec.decode_input(payload.inputs[0]))
        output = NumpyCodec.encode_output("predict_proba", probabilities)
        return InferenceResponse(model_name=self.name, outputs=[output])
