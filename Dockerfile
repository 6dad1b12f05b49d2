# Forge in a container. docs/docker.md says how it is built and run.
#
#   docker build -t forge .                                for CPUs
#   docker build -t forge:cuda --build-arg ACCEL=cu130 .   for NVIDIA GPUs (cu126: drivers from 525 on)

ARG PYTHON=3.13

FROM python:${PYTHON}-slim-trixie AS build
# The accelerator that PyTorch is built for; the names are setup_env.py's.
ARG ACCEL=cpu
# Address of llama.cpp's builds for CUDA (`forge doctor --only runtime_gpu` names it); without one, llama.cpp answers on the CPU.
ARG RUNTIME_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_LINK_MODE=copy
WORKDIR /source

# PyTorch first, in a layer of its own: it is nearly all of the image, and changes least.
COPY constraints.txt ./
RUN python -m venv /opt/forge \
    && /opt/forge/bin/pip install --no-cache-dir --constraint constraints.txt uv \
    && /opt/forge/bin/uv pip install --python /opt/forge/bin/python --torch-backend "${ACCEL}" \
        --constraint constraints.txt torch

COPY pyproject.toml README.md LICENSE MANIFEST.in ./
COPY src/phoenix_forge src/phoenix_forge
RUN /opt/forge/bin/pip install --no-cache-dir --constraint constraints.txt '.[train,docs,mcp]' \
    && if [ -n "${RUNTIME_INDEX}" ]; then \
        /opt/forge/bin/pip install --no-cache-dir --constraint constraints.txt --no-deps --force-reinstall \
            --index-url "${RUNTIME_INDEX}" xllamacpp; \
    fi

FROM python:${PYTHON}-slim-trixie
# git lists the documents of a repository; Triton compiles the launchers of its kernels with gcc, on a GPU only.
# Debian drops a package's older versions, so a pinned one would end the build some day.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc git libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# Open to every user, so that --user with an id of the host's works, too.
RUN useradd --create-home --uid 1000 --user-group forge \
    && install --directory --owner=forge --group=forge --mode=0777 /workspace /home/forge /home/forge/.cache
COPY --from=build /opt/forge /opt/forge
# What the NVIDIA container toolkit lends to a container that is started with --gpus.
ENV PATH=/opt/forge/bin:$PATH HOME=/home/forge USER=forge \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /workspace
# The documents and all that is made of them; and the models that were downloaded.
VOLUME ["/workspace", "/home/forge/.cache"]
ENTRYPOINT ["forge"]
CMD ["--help"]
