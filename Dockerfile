# A static server on a small Debian that also has redis-cli.
#
#   docker build -t corecache .
#   docker run -d --name corecache --stop-timeout 45 -p 127.0.0.1:6379:6379 -v corecache:/data corecache --requirepass secret
#   docker exec corecache redis-cli -a secret SET greeting hello
#
# What follows the name of the image are parameters, as on the command line; a file is --include /etc/corecache.conf.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w ${VERSION:+-X main.version=$VERSION}" -o /corecache ./cmd/corecache

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends redis-tools \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 999 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin corecache \
    && install -d -o corecache -g corecache -m 700 /data
COPY --from=build /corecache /usr/local/bin/corecache
USER corecache
VOLUME /data
EXPOSE 6379 16379

# SIGTERM hands leadership over and finishes what is under way: up to shutdown-timeout (10 s) for each of the two.
STOPSIGNAL SIGTERM

# PONG comes once the log is replayed and the node has joined its cluster. With a password, redis-cli takes it from
# REDISCLI_AUTH; without that, that the server asks for one has to do.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD redis-cli PING | grep -qE '^(PONG|NOAUTH)'

ENTRYPOINT ["corecache", "--dir", "/data", "--bind", "*", "-::*"]
