# The `arrivals` command on the CPU. Build: docker build --tag arrival-engine .
# Run: docker run --rm --volume arrivals-kernels:/var/cache/arrivals --volume "$PWD:/data" arrival-engine demo
FROM python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285 AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE LICENSE.unicode ./
COPY config config
COPY contracts contracts
COPY cpu_fallback cpu_fallback
COPY engine engine
COPY gpu_kernels gpu_kernels
COPY src src
RUN pip install --constraint constraints.txt build hatchling \
    && python -m build --wheel --no-isolation --outdir dist

FROM python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
LABEL org.opencontainers.image.title="Arrival Engine" \
    org.opencontainers.image.description="Expands a sealed world of bucket counts into routed, timestamped arrival events" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0 AND Unicode-3.0"
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
ARG EXTRAS=dask,delta,iceberg,report
COPY --from=build /build/constraints.txt /build/dist/*.whl /opt/wheel/
RUN python -m venv --without-pip /opt/arrivals \
    && pip --python /opt/arrivals/bin/python install --constraint /opt/wheel/constraints.txt \
        "arrival-engine[$EXTRAS] @ file://$(echo /opt/wheel/*.whl)"
# Kernels are compiled at the first start, because their code fits one kind of processor. They stay in a volume. Like
# /tmp it takes any user's files, so that `docker run --user` works, and the cache trusts only its own user's.
RUN useradd --uid 1000 --create-home arrivals \
    && install --directory --mode=1777 /var/cache/arrivals \
    && install --directory --owner=arrivals --group=arrivals /data
ENV PATH=/opt/arrivals/bin:$PATH ARRIVALS_CACHE_DIR=/var/cache/arrivals
VOLUME ["/data", "/var/cache/arrivals"]
WORKDIR /data
USER 1000:1000
ENTRYPOINT ["arrivals"]
CMD ["--help"]
