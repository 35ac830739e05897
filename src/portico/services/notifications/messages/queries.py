from portico.kit.auth import Principal, UserId

READ = "notifications:read"


def whose(caller: Principal) -> UserId | None:
    """Whose notifications `caller` may see: all (None) with notifications:read, else its own. Raises PersonRequired."""
    return None if caller.may(READ) else caller.user_id
