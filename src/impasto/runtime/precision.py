"""What a painter computes in: 32-bit floats, or mostly in 8-bit whole numbers."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from impasto.errors import BundleError, UnknownName
from impasto.runtime.bundle import Bundle
from impasto.runtime.engine import EngineName

Precision: TypeAlias = Literal["fp32", "int8", "auto"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

INT8_PAINTER = "painter_int8"
"""Role of the graph that paints in 8 bits; it takes and gives what the one named ``painter`` does."""


def painter_role(bundle: Bundle, precision: Precision, engine: EngineName) -> str:
    """The role of the graph that paints at a precision.

    Args:
        bundle: a style model.
        precision: ``"auto"``: int8 where the model has it and onnxruntime runs it, else fp32.
        engine: what runs it. OpenVINO computes in bfloat16 where the processor can; int8 on top of that is hardly
            faster and doubles the error, so there it has to be asked for.

    Raises:
        BundleError: int8 is asked for and not there, or takes other inputs than the painter in fp32.
        UnknownName: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    graphs = bundle.manifest.graphs
    if precision == "fp32" or (precision == "auto" and (INT8_PAINTER not in graphs or engine != "onnxruntime")):
        return "painter"
    if INT8_PAINTER not in graphs:
        raise BundleError(f"{bundle.path} has no painter in int8: use fp32, or add one with 'impasto quantize'.")
    if graphs[INT8_PAINTER].inputs != graphs["painter"].inputs:
        raise BundleError(
            f"The painter in int8 of {bundle.path} does not take what that in fp32 takes: add it anew with "
            "'impasto quantize'."
        )
    return INT8_PAINTER
