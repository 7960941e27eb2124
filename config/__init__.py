"""Packaged policies of the arrival engine and their loader."""

from __future__ import annotations

from arrival_engine.config.policies import Policy, packaged_bytes, policy_ids, resolve_policy

__all__ = ["Policy", "packaged_bytes", "policy_ids", "resolve_policy"]
