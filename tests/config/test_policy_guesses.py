"""A misspelt key, choice or preset is refused with a guess at what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from arrival_engine.config import packaged_bytes, resolve_policy
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.engine.synth.presets import world_spec

POLICY = "arrival_routing_policy_5B"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("fallbacks:", "falbacks:", "missing key 'fallbacks' (misspelt 'falbacks'?)"),
        ("use_group_weights:", "use-group-weights:", "'use_group_weights' (misspelt 'use-group-weights'?)"),
        ("fallbacks:", "mood: sunny\nfallbacks:", "unknown key 'mood'"),
        # Only keys that are missing are guessed.
        ("fallbacks:", "fallback: 1\nfallbacks:", "unknown key 'fallback'"),
        ("fallbacks:", "fallback: 1\nvirtual_ruoter: {}\nfallbacks:", "unknown key 'fallback', 'virtual_ruoter'"),
        (": count_row_zone", ": count_rwo_zone", "one of 'count_row_zone', 'fail'; did you mean 'count_row_zone'?"),
    ],
)
def test_a_key_or_choice_of_a_policy(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = packaged_bytes(POLICY).decode().replace(old, new, 1)
    assert new in text
    path = dataset(POLICY).locate(tmp_path, {})
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(POLICY, run_root=tmp_path)
    assert caught.value.message.partition(" (one of ")[0].endswith(said)


@pytest.mark.parametrize(
    ("preset", "hint"),
    [
        ("refrence", "did you mean 'reference'? presets are demo, reference"),
        ("huge", "presets are demo, reference"),
    ],
)
def test_a_preset(preset: str, hint: str) -> None:
    with pytest.raises(ArrivalError) as caught:
        world_spec(preset, 42, 1.0)
    assert (caught.value.code, caught.value.hint) == (Code.OPTION_INVALID, hint)


def test_a_key_that_a_policy_may_lack(tmp_path: Path) -> None:
    text = packaged_bytes("bundle_layout_policy_5B").decode()
    assert text.count("failed_root_template:") == 1
    path = dataset("bundle_layout_policy_5B").locate(tmp_path, {})
    path.parent.mkdir(parents=True)
    path.write_text(text.replace("failed_root_template:", "failed_root_tmplate:"), encoding="utf-8")
    with pytest.raises(ArrivalError, match=r"'failed_root_tmplate' \(did you mean 'failed_root_template'\?\)"):
        resolve_policy("bundle_layout_policy_5B", run_root=tmp_path)
