# syntax=docker/dockerfile:1
# CPU by default. For CUDA: docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .
# The same steps run as plain shell in CI: .ci/dockerfile.

FROM python:3.11-slim-bookworm AS builder
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY geoseg ./geoseg
COPY catalogs ./catalogs
COPY pipelines ./pipelines
RUN python -m venv /opt/geoseg
RUN /opt/geoseg/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" torch torchvision
RUN /opt/geoseg/bin/pip install --no-cache-dir '.[notify,planetary-computer,s3]'
RUN /opt/geoseg/bin/geoseg --version

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="geoseg" \
      org.opencontainers.image.description="Land-cover maps from an area and a STAC catalog" \
      org.opencontainers.image.licenses="Apache-2.0"
# The rasterio wheel expects the system's libexpat, which slim images leave out.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libexpat1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=builder /opt/geoseg /opt/geoseg
RUN useradd --create-home --uid 1000 geoseg
ENV PATH=/opt/geoseg/bin:$PATH
USER geoseg
WORKDIR /home/geoseg
ENTRYPOINT ["geoseg"]
CMD ["--help"]
