# 0: removed, 1: upgraded.
if [ "$1" -eq 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now @PACKAGE@.service || :
    else
        systemctl --no-reload disable @PACKAGE@.service 2>/dev/null || :
    fi
fi
