# 1: installed, 2: upgraded.
if [ -d /run/systemd/system ]; then
    systemd-tmpfiles --create @PACKAGE@.conf || :
    systemctl daemon-reload || :
    if [ "$1" -ge 2 ]; then
        systemctl try-restart @PACKAGE@.service || :
    fi
fi
if [ "$1" -eq 1 ]; then
    cat <<'TEXT'
@NEXT@
TEXT
fi
