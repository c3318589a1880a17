# The gateway without the tools that build it: slim, non-root, every package by hash.
FROM python:3.11-slim AS build
WORKDIR /app
COPY uv.txt ./
RUN python -m pip install --no-cache-dir --require-hashes -r uv.txt
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project --compile-bytecode
COPY gateway gateway
COPY providers providers
RUN uv sync --locked --no-dev --no-editable --compile-bytecode

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /data reelgate && install -d -o reelgate -m 700 /data
COPY --from=build /app/.venv /app/.venv
COPY config.toml /etc/reelgate/config.toml
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REELGATE_CONFIG=/etc/reelgate/config.toml \
    REELGATE__SERVER__HOST=0.0.0.0 \
    REELGATE__STORE__URL=sqlite:////data/reelgate.db \
    REELGATE__MEDIA__URL=file:////data/media \
    REELGATE__MEDIA__LOCAL=/data/local
USER reelgate
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/ready', timeout=2)"]
# Inside a container the gateway listens to everybody, so it wants a key before it starts:
#   docker run --rm -v reelgate:/data reelgate keys create --name app
ENTRYPOINT ["reelgate"]
CMD ["serve"]
