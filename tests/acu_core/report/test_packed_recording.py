from __future__ import annotations

import zlib

import numpy as np
import pytest

