# The image of cluster-kuberay.yaml's pods: Python 3.11, for which constraints.txt is made, and the platform.
#
#   docker build -t REGISTRY/refusion-platform:0.1.0 . && docker push REGISTRY/refusion-platform:0.1.0
#
# To pin it to the bit, write the digest that `docker buildx imagetools inspect` prints after the tag, as @sha256:…
FROM python:3.11.14-slim-bookworm

# Compiled networks (CPU) and Triton's kernels (GPU) are made where they run. Debian keeps only the newest of a release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ procps \
    && rm -rf /var/lib/apt/lists/*

RUN groupadd --gid 1000 ray && useradd --uid 1000 --gid ray --create-home --shell /bin/bash ray

WORKDIR /opt/refusion-platform
COPY constraints.txt ./
# By itself: the layer of 3 GB changes with its versions alone.
RUN pip install --no-cache-dir -c constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
COPY jobs jobs
RUN pip install --no-cache-dir -c constraints.txt .

USER 1000:1000
WORKDIR /home/ray
