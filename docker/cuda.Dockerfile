# dualtk with torch's build for NVIDIA GPUs, whose wheels bring CUDA: the host needs its driver and nvidia-container-toolkit.
#   docker build --file docker/cuda.Dockerfile --tag dualtk:cuda .
#   docker run --rm --gpus all --shm-size 8g --volume "$PWD/work:/work" dualtk:cuda recipe librispeech mine
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN python -m pip install --no-cache-dir build==1.3.0 \
 && python -m build --wheel --outdir /wheels .

FROM python:3.12-slim-bookworm
COPY --from=build /wheels /wheels
# A compiler is what torch.compile and Triton call at run time.
# hadolint ignore=DL3008,DL3013
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* \
 && for wheel in /wheels/*.whl; do python -m pip install --no-cache-dir "${wheel}[demo,plots,tensorboard]"; done \
 && rm -r /wheels \
 && useradd --create-home --uid 1000 dualtk \
 && mkdir /work && chown dualtk /work
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /work
ENTRYPOINT ["dualtk"]
CMD ["--help"]
