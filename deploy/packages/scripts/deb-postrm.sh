#!/bin/sh
set -e
case $1 in
remove)
    if [ -d /run/systemd/system ]; then
        systemctl --system daemon-reload >/dev/null || true
    fi
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper mask @PACKAGE@.service >/dev/null || true
    fi
    ;;
purge)
    if command -v deb-systemd-helper >/dev/null; then
        deb-systemd-helper purge @PACKAGE@.service >/dev/null || true
        deb-systemd-helper unmask @PACKAGE@.service >/dev/null || true
    fi
    @PURGE@
    rmdir --ignore-fail-on-non-empty /etc/foreshadow 2>/dev/null || true
    ;;
esac
