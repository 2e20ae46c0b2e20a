"""The network: its shape, its repeatability, and its optional backbone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet50

from model.engine import Engine, choose_engine
from model.errors import CheckpointError
from model.inference import predict
from model.network import BreastFcn, new_network
from model.torch_runner import TorchRunner


@pytest.fixture(scope="module")
def network() -> BreastFcn:
    return new_network(seed=0).eval()


def test_two_channels_in_one_logit_out_at_the_same_size(network: BreastFcn) -> None:
    with torch.inference_mode():
        assert network(torch.zeros(2, 2, 40, 56)).shape == (2, 1, 40, 56)


def test_it_is_fcn_resnet50_without_an_auxiliary_head(network: BreastFcn) -> None:
    resnet50_body = 25_557_032 - (2048 + 1) * 1000
    two_channel_stem = (2 - 3) * 64 * 7 * 7
    head = 2048 * 512 * 3 * 3 + 2 * 512 + 512 + 1
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == resnet50_body + two_channel_stem + head
    assert network.fcn.aux_classifier is None


def test_the_same_seed_gives_the_same_weights(network: BreastFcn) -> None:
    again = new_network(seed=0).state_dict()
    other = new_network(seed=1).state_dict()
    stem = "fcn.backbone.conv1.weight"
    assert torch.equal(network.state_dict()[stem], again[stem])
    assert not torch.equal(again[stem], other[stem])


def test_a_backbone_file_keeps_its_response_to_a_grey_image(tmp_path: Path) -> None:
    torch.manual_seed(3)
    backbone = resnet50(weights=None)
    save_file(backbone.state_dict(), tmp_path / "r50.safetensors")
    adapted = new_network(seed=0, backbone_weights=str(tmp_path / "r50.safetensors"))
    grey = torch.rand(1, 1, 16, 16)
    expected = backbone.conv1(grey.repeat(1, 3, 1, 1))
    found = adapted.fcn.backbone.conv1(grey.repeat(1, 2, 1, 1))
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["missing.safetensors", "weights.pth"])
def test_a_backbone_must_be_a_safetensors_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "weights.pth").write_bytes(b"pickle")
    with pytest.raises(CheckpointError, match=r"needed ResNet50 weights"):
        new_network(seed=0, backbone_weights=str(tmp_path / name))


def test_prediction_is_a_probability_per_pixel(network: BreastFcn) -> None:
    voxels = torch.rand(3, 2, 32, 32).numpy()
    probability = predict(voxels, network, Engine("cpu", "fp32"))
    assert probability.shape == (3, 32, 32)
    assert 0 <= probability.min() <= probability.max() <= 1
    alone = predict(voxels[1:2], network, Engine("cpu", "fp32"))
    assert torch.allclose(torch.tensor(alone[0]), torch.tensor(probability[1]))


class Small(nn.Module):
    """A stand-in for a network on a device that holds ``most`` slices at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.batches: list[int] = []

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(slices))
        if len(slices) > self.most:
            raise torch.OutOfMemoryError
        return slices[:, :1]


def test_a_batch_that_does_not_fit_is_halved_and_the_result_is_the_same() -> None:
    voxels, heard = torch.rand(10, 2, 8, 8).numpy(), list[float]()
    engine, small = Engine("cpu", "fp32"), Small(most=3)
    runner = TorchRunner(small, engine, 8)
    runner.batch = 8
    found = predict(voxels, runner, engine, progress=heard.append)
    assert small.batches == [8, 4, 2, 2, 2, 2, 2]
    assert heard == [0.2, 0.4, 0.6, 0.8, 1.0]
    expected = predict(voxels, Small(most=10), engine)
    assert (found == expected).all()


def test_one_slice_that_does_not_fit_is_an_error() -> None:
    voxels = torch.rand(2, 2, 8, 8).numpy()
    with pytest.raises(MemoryError):
        predict(voxels, Small(most=0), Engine("cpu", "fp32"))


def test_automatic_engine_is_one_this_machine_has() -> None:
    engine = choose_engine(training=True)
    assert engine.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert engine.precision in {"fp32", "bf16"}
    assert choose_engine(precision="fp32").precision == "fp32"
