"""Names of merchants: the texts that merchant ids stand for, in worlds whose ids are texts."""

from __future__ import annotations

from arrival_engine.engine.merchant_names.choice import merchant_id_of
from arrival_engine.engine.merchant_names.names import MerchantNames, known_as, told
from arrival_engine.engine.merchant_names.reading import load_merchant_names, naming_merchants, require_names

__all__ = [
    "MerchantNames",
    "known_as",
    "load_merchant_names",
    "merchant_id_of",
    "naming_merchants",
    "require_names",
    "told",
]
