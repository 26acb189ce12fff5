# dualtk with a CPU build of torch. From the top of a checkout:
#   docker build --file docker/cpu.Dockerfile --tag dualtk:cpu .
#   docker run --rm --volume "$PWD/work:/work" dualtk:cpu transcribe exp/dual_conformer talk.wav
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN python -m pip install --no-cache-dir build==1.3.0 \
 && python -m build --wheel --outdir /wheels .

FROM python:3.12-slim-bookworm
# TORCH_INDEX: another index that holds CPU builds of torch.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --from=build /wheels /wheels
COPY utils/install_torch.sh /usr/local/bin/install_torch.sh
# numba keeps what it compiles beside the package, or else in the home of the user.
# hadolint ignore=DL3013
RUN TORCH_INDEX="$TORCH_INDEX" install_torch.sh python \
 && for wheel in /wheels/*.whl; do python -m pip install --no-cache-dir "${wheel}[demo,plots]"; done \
 && rm -r /wheels \
 && useradd --create-home --uid 1000 dualtk \
 && mkdir /work && chown dualtk /work
USER 1000
WORKDIR /work
ENTRYPOINT ["dualtk"]
CMD ["--help"]
