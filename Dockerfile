# Trains on the CPU as it is, on the GPUs with `docker run --gpus all`: torch's own wheel carries
# CUDA, so the host needs NVIDIA's driver and container toolkit, and the image no CUDA base.
FROM python:3.12.12-slim-bookworm

# HOME and LOGNAME: a user id without an entry in /etc/passwd (`--user`) has neither, and the
# caches of matplotlib and torch want both.
ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=dqn \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Any user may write runs where no folder of the host's is mounted.
WORKDIR /app
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp dqn \
    && install --directory --owner=dqn --group=dqn --mode=1777 checkpoints

# --build-arg PIP_EXTRA_INDEX_URL=...: one more package index, such as one with torch's CPU build.
ARG PIP_EXTRA_INDEX_URL

# --build-arg REQUIREMENTS=requirements-ray.txt: for suites; or -wandb.txt, -export.txt, -box2d.txt (LunarLander).
ARG REQUIREMENTS=requirements.txt

# The packages come before the code: a change of code builds in a second.
COPY requirements.txt requirements-box2d.txt requirements-ray.txt requirements-wandb.txt \
    requirements-export.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    -r "$REQUIREMENTS"

# Installed, presets and shipped agents are found whatever is mounted over checkpoints/.
COPY . /src
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
    --no-deps --no-build-isolation /src

USER 1000:1000
ENTRYPOINT ["dqn"]
CMD ["--help"]
