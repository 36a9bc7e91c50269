import numpy as np

from clinical_backend.lab.benchmarks.replacement import replacements


def test_what_sees_nothing_is_refused_and_what_sees_as_much_is_not():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [400, 40])
    seeing = generator.normal(size=(440, 16)).astype(np.float32)
    seeing[labels == 1, -1] += 8.0
    also = seeing @ np.linalg.qr(generator.normal(size=(16, 16)))[0].astype(np.float32)
    found = dict(replacements(also, seeing, labels, ("common", "rare"), 20, 0))
    assert {change: one.worse for change, one in found.items()} == {
        "to the larger": False,
        "to the smaller": False,
        "to images in mixed order": True,
        "to 8 values": True,
    }
