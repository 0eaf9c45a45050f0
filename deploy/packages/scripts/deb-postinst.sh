#!/bin/sh
# Enabled and started by you, once it is configured; restarted by an upgrade when it runs.
set -e
if [ "$1" = configure ]; then
    if [ -d /run/systemd/system ]; then
        systemd-tmpfiles --create @PACKAGE@.conf || true
    fi
    deb-systemd-helper unmask @PACKAGE@.service >/dev/null || true
    if deb-systemd-helper debian-installed @PACKAGE@.service &&
        deb-systemd-helper --quiet was-enabled @PACKAGE@.service; then
        deb-systemd-helper enable @PACKAGE@.service >/dev/null || true
    fi
    deb-systemd-helper update-state @PACKAGE@.service >/dev/null || true
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
        if [ -n "$2" ]; then
            deb-systemd-invoke try-restart @PACKAGE@.service >/dev/null || true
        fi
    fi
    if [ -z "$2" ]; then
        cat <<'TEXT'
@NEXT@
TEXT
    fi
fi
