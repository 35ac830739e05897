# One image for every process of a system: `portico run identity`, `portico run gateway`, `portico migrate upgrade`.

FROM python:3.12-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# `tools` has everything that is locked, builds the wheel and stays behind. /opt/portico gets what the wheel requires of it,
# compiled by pip: no build tools, no pip, no compilers.
COPY requirements.lock ./
RUN python -m venv tools \
    && tools/bin/pip download --only-binary :all: --no-deps --require-hashes --requirement requirements.lock --dest locked \
    && tools/bin/pip install --no-index --no-deps locked/*.whl

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && python -m venv --without-pip /opt/portico \
    && tools/bin/pip --python /opt/portico/bin/python install --no-index --find-links locked \
        "$(echo wheels/portico-*.whl)[mysql,rabbitmq,nats,kafka,dns,otlp]" \
    && /opt/portico/bin/python -m compileall -q /opt/portico/lib


FROM python:3.12-slim-bookworm

# The image's standard library is not compiled, and a read-only file system would keep every start and probe from storing it.
RUN python -m compileall -q /usr/local/lib/python3.* \
    && groupadd --gid 10001 portico \
    && useradd --uid 10001 --gid portico --no-create-home --home-dir /data --shell /usr/sbin/nologin portico \
    && install --directory --owner portico --group portico --mode 0700 /data

COPY --from=build /opt/portico /opt/portico

# On real servers nothing is written to /data; what is embedded lives there, and needs a volume.
ENV PATH=/opt/portico/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 DATA_DIR=/data LOG_FORMAT=json
WORKDIR /data
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "portico.kit.runtime.probe", "http://127.0.0.1:8080/health/ready"]
ENTRYPOINT ["portico"]
CMD ["up"]
