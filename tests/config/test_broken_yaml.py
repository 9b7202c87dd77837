"""Does every kind of broken file get the message that names its faults, by file, line and path?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from codesign import yaml12
from codesign.config import CodesignError, ConfigError, load_spec, load_yaml, parse_yaml
from tests.config.sample_spec import Machine

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
MARK = "# expect:"


def expected(path: Path) -> list[str]:
    """The message lines that a broken file asks for at its top; three dots leave the rest open."""
    rows = path.read_bytes().decode("utf-8-sig", "replace").split("\n")
    return [f"{path}:{row[len(MARK) :]}" for row in rows if row.startswith(MARK)]


@pytest.mark.parametrize("parser", ["CSafeLoader", "SafeLoader"])
@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_every_fault_has_its_message(
    path: Path, parser: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(yaml, parser):
        pytest.skip("PyYAML was built without libyaml")
    monkeypatch.setattr(yaml12, "_PARSER", getattr(yaml, parser))
    with pytest.raises(ConfigError) as caught:
        load_spec(Machine, path)
    told = str(caught.value).split("\n")
    wanted = expected(path)
    assert wanted
    assert len(told) == len(caught.value.faults) == len(wanted), told
    for line, text in zip(told, wanted, strict=True):
        assert line.startswith(text[:-3]) if text.endswith("...") else line == text


def test_a_folder_a_missing_and_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "systolic.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match=r"no such file; did you mean 'systolic\.yaml'\?$"):
        load_yaml(tmp_path / "sistolic.yaml")
    with pytest.raises(ConfigError, match="a folder, not a file"):
        load_yaml(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "systolic.yaml" / "below")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path / "nul\0byte.yaml")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (yaml12.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"large\.yaml: larger than 16777216 bytes"):
        load_yaml(large)


def test_too_many_values_are_refused_and_too_many_faults_are_counted() -> None:
    with pytest.raises(ConfigError, match="more than 200000 values"):
        parse_yaml(f"a: [{'1,' * yaml12.MAX_NODES}]")
    with pytest.raises(ConfigError, match=r"and 50 more$") as caught:
        parse_yaml("a: 1\n" * 151)
    assert len(caught.value.faults) == 150


def test_a_fault_is_a_value_error_of_the_user() -> None:
    assert issubclass(ConfigError, CodesignError)
    assert issubclass(CodesignError, ValueError)
