"""The weights of a Hugging Face folder: safetensors, read one tensor at a time, and nothing that could run code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from headwater.core.errors import TrainError
from headwater.core.huggingface import Weight, rows_from_huggingface, weights_of
from headwater.core.run import ModelShape
from headwater.core.storage import storage_errors
from headwater.train.interchange.export_huggingface import INDEX, SINGLE

_DTYPES = ("F32", "BF16", "F16")
_TIED_HEAD = "lm_head.weight"


class SafetensorsFolder:
    """The weights of a model in `model.safetensors`, or in the files that its index names.

    Args:
        folder: The folder.
        shape: The model's shape, which the weights have to fit.

    Raises:
        TrainError: A file is missing, damaged or no safetensors; a weight is missing, of another shape or of another
            type; or there are weights that the model does not have.
    """

    def __init__(self, folder: Path, shape: ModelShape) -> None:
        self._folder = folder
        self.weights = weights_of(shape)
        self._places = _places(folder)
        self.dtypes: dict[str, torch.dtype] = {}
        self._check(shape)

    @property
    def files(self) -> list[Path]:
        """The files that hold the weights."""
        return sorted({self._folder / name for name in self._places.values()})

    def read(self, weight: Weight) -> torch.Tensor:
        """One weight in training's order of rows, in the type it is stored in.

        Raises:
            TrainError: It holds values that are not finite.
        """
        tensor, rows = self._tensor(weight.hf_name), rows_from_huggingface(weight)
        if not bool(torch.isfinite(tensor).all()):
            raise TrainError(f"{weight.hf_name} holds values that are not finite: training cannot start from it")
        return tensor if rows is None else tensor[torch.from_numpy(rows)]

    def _tensor(self, name: str) -> torch.Tensor:
        path = self._folder / self._places[name]
        with _opened(path) as file:
            return file.get_tensor(name)

    def _check(self, shape: ModelShape) -> None:
        for weight in self.weights:
            if weight.hf_name not in self._places:
                raise TrainError(f"{self._folder} lacks the weight {weight.hf_name}", expected=list(weight.size),
                                 hint="config.json may describe another model")  # fmt: skip
        by_file: dict[str, list[Weight]] = {}
        for weight in self.weights:
            by_file.setdefault(self._places[weight.hf_name], []).append(weight)
        for name, weights in by_file.items():
            with _opened(self._folder / name) as file:
                for weight in weights:
                    self._check_one(weight, file)
        known = {weight.hf_name for weight in self.weights}
        extra = [
            name for name in sorted(self._places) if name not in known and not name.endswith("rotary_emb.inv_freq")
        ]
        if shape.tied and _TIED_HEAD in extra:  # some programs save it a second time
            embedding = self._tensor(self.weights[0].hf_name)
            if torch.equal(self._tensor(_TIED_HEAD), embedding):
                extra.remove(_TIED_HEAD)
        if extra:
            more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
            raise TrainError(f"{self._folder} holds weights that the model does not have",
                             found=", ".join(extra[:5]) + more, expected="those of its config.json alone")  # fmt: skip

    def _check_one(self, weight: Weight, file: Any) -> None:
        try:
            part = file.get_slice(weight.hf_name)
        except SafetensorError as error:
            raise TrainError(f"{self._places[weight.hf_name]} does not hold {weight.hf_name}, which the index says",
                             hint="copy the folder again") from error  # fmt: skip
        size, dtype = list(part.get_shape()), part.get_dtype()
        if size != list(weight.size):
            raise TrainError(f"{weight.hf_name} has another shape than config.json says", found=size,
                             expected=list(weight.size))  # fmt: skip
        if dtype not in _DTYPES:
            raise TrainError(f"{weight.hf_name} is of a type that training cannot start from", found=dtype,
                             expected=" or ".join(_DTYPES))  # fmt: skip
        self.dtypes[weight.name] = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[dtype]


def _places(folder: Path) -> dict[str, str]:
    """Weight → the file that holds it."""
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if (folder / SINGLE).is_file():
        with _opened(folder / SINGLE) as file:
            return dict.fromkeys(file.keys(), SINGLE)
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise TrainError(
            f"{folder} has its weights in pickle files, which can run code when they are opened",
            found=", ".join(pickles[:3]), expected=f"{SINGLE}, or files that {INDEX} names",
            hint="where you trust them: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER)",
        )  # fmt: skip
    raise TrainError(f"{folder} holds no weights", expected=f"{SINGLE}, or {INDEX} and the files that it names")


def _indexed(folder: Path) -> dict[str, str]:
    try:
        places: Any = json.loads((folder / INDEX).read_bytes())["weight_map"]
        named = {str(name): str(file) for name, file in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainError(f"{folder / INDEX} is no index of weights", hint="copy the folder again") from error
    for file in sorted(set(named.values())):
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise TrainError(f"{folder / INDEX} names a file that is not one of safetensors in the folder", found=file)
        if not (folder / file).is_file():
            raise TrainError(f"{folder / file} is missing, and {INDEX} names it", hint="copy the folder again")
    return named


def _opened(path: Path) -> Any:
    with storage_errors("read", path):
        try:
            return safe_open(path, framework="pt", device="cpu")
        except SafetensorError as error:
            raise TrainError(f"{path} is no safetensors file, or was cut: {error}", hint="copy it again") from error
