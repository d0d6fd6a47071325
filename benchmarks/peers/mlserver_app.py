"""MLServer: its own scikit-learn runtime serves w1, w2, w3; these two serve ONNX files and the penguins."""

from typing import Any

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from model import ITEM, Model, session


class Onnx(MLModel):
    """An ONNX file in ONNX Runtime."""

    async def load(self) -> bool:
        """Open the model."""
        self._session = session()
        self._outputs = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """All outputs of the graph."""
        asked = payload.inputs[0]
        found = self._session.run(None, {asked.name: NumpyCodec.decode_input(asked)})
        outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(self._outputs, found, strict=True)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


class Penguins(MLModel):
    """A pipeline that takes a data frame."""

    async def load(self) -> bool:
        """Open the model."""
        self._model: Any = Model()
        assert ITEM == "w5"
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The species of each row."""
        rows = PandasCodec.decode_request(payload).to_dict("records")
        labels = [found[0] for found in self._model.predict_many(rows)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("label", labels)])
