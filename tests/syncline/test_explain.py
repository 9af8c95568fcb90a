"""Explanations agree with the judgement, and say which rule decided."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from schemas.change import Change
from streams.entity import Entity, absorb
from streams.explain import LOSES, OVERRULED, PART, WINS, Reason, explain, span
from streams.merge import judge
from streams.policy import parse_policy
from tests.laws.histories import histories
