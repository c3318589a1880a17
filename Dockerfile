# The gateway without the tools that build it: slim, non-root, every package in it by hash.
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
# The group may write, too: clusters that choose the user themselves (OpenShift) leave it in group 0.
RUN useradd --uid 10001 --home-dir /data --no-create-home reelgate && install -d -o reelgate -g root -m 770 /data
COPY --from=build /app/.venv /app/.venv
COPY --chmod=644 config.toml /etc/reelgate/config.toml
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REELGATE_CONFIG=/etc/reelgate/config.toml \
    REELGATE__SERVER__HOST=0.0.0.0 \
    REELGATE__SERVER__PORT=8080 \
    REELGATE__WORKER__PORT=8080 \
    REELGATE__STORE__URL=sqlite:////data/reelgate.db \
    REELGATE__MEDIA__URL=file:////data/media \
    REELGATE__MEDIA__LOCAL=/data/local
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Past any proxy of the environment; `serve` and `work` answer at one port here. To have another, set both.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import http.client as http, os; \
         asked = http.HTTPConnection('127.0.0.1', os.environ['REELGATE__SERVER__PORT'], timeout=2); \
         asked.request('GET', '/health/ready'); raise SystemExit(asked.getresponse().status != 200)"]
# Inside a container the gateway listens to everybody, so it wants a key before it starts:
#   docker run --rm -v reelgate:/data reelgate keys create --name app
ENTRYPOINT ["reelgate"]
CMD ["serve"]
