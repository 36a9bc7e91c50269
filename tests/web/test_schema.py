"""Whatever a caller sends to any route, the answer is no fault of ours: Schemathesis over the whole API."""

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from clinical_backend.settings import load_settings
from clinical_backend.web.app import make_app
from tests.web.noting_runner import Wakes


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_no_call_that_fits_the_schema_or_breaks_it_makes_the_server_fail(tmp_path, mode):
    app = make_app(load_settings(model_dir=tmp_path, label_studio_api_key="k"), Wakes())
    with TestClient(app, raise_server_exceptions=False) as api:
        schema = schemathesis.openapi.from_dict(api.get("/openapi.json").json())
        operations = [operation.ok() for operation in schema.get_all_operations()]
        assert len(operations) >= 7
        for operation in operations:
            if mode is GenerationMode.POSITIVE or operation.body or operation.path_parameters:
                assert_no_failure(api, operation, mode)


def assert_no_failure(api, operation, mode):
    @given(operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case):
        request = case.as_transport_kwargs(base_url="http://testserver")
        request.pop("cookies")
        if "data" in request:  # a body that is no JSON
            request["content"] = request.pop("data")
        answer = api.request(**request)
        assert answer.status_code < 500, answer.text

    run()
