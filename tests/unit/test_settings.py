"""params.yaml: unknown and out-of-range settings are named before anything runs."""

from pathlib import Path

import pytest

from lotgate.errors import SettingsError
from lotgate.settings import load_settings


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("sead: 1", "sead"),
        ("seed: -1", "seed"),
        ("policy: {max_quarantined_rate: 1.5}", "policy.max_quarantined_rate"),
        ("policy: {voters: [nobody]}", "nobody"),
        ("policy: {voters: []}", "voters is empty"),
        ("detectors: {nobody: {}}", "nobody"),
        ("detectors: {spectral_signatures: {rate: 7}}", "rate"),
        ("detectors: {spectral_signatures: {rats: 0.1}}", "rats"),
        ("probe: {epochs: none}", "probe.epochs"),
        ("- a list", "not a mapping"),
        ("a: [unclosed", "cannot be read"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert named in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.action


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "absent.yaml")
    assert "absent.yaml" in str(caught.value)


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: 1")
    assert load_settings(path, seed=7).seed == 7
    assert load_settings(path, seed=None).seed == 1
