# The orchestrator: API, loops and hosted agents in one process, on SQLite below /data.
#   docker build -t gpulease .
#   docker run -p 8080:8080 -v gpulease:/data -e GPULEASE_ADMIN_KEY=… gpulease
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS system
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
       ca-certificates curl ffmpeg python3.11 python3.11-venv tini \
    && rm -rf /var/lib/apt/lists/*

FROM system AS built
WORKDIR /src
COPY requirements.server.lock ./
RUN python3.11 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.server.lock
COPY pyproject.toml README.md ./
COPY gpulease gpulease
COPY orchestrator orchestrator
COPY provider_clients provider_clients
COPY scaling scaling
COPY worker_image worker_image
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM system
COPY --from=built /opt/venv /opt/venv
RUN useradd --uid 10001 --no-create-home gpulease && mkdir /data && chown gpulease /data
USER 10001
WORKDIR /data
VOLUME /data

# Beyond the loopback it starts only with a key: GPULEASE_ADMIN_KEY, or one made with `gpulease keys create`.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    GPULEASE_DATA=/data \
    GPULEASE_HOST=0.0.0.0 \
    GPULEASE_PORT=8080
EXPOSE 8080
HEALTHCHECK --start-period=20s --interval=15s --timeout=5s \
    CMD ["curl", "-fsS", "--max-time", "3", "-o", "/dev/null", "http://127.0.0.1:8080/livez"]

ENTRYPOINT ["tini", "--", "gpulease"]
CMD ["up"]
