"""Questions of planning as commands and pages ask them, and the process that answers pages."""
