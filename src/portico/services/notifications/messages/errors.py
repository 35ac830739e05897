from portico.contracts.notifications import NotificationId
from portico.kit.foundation.problems import Conflict, NotFound


class NotificationNotFound(NotFound):
    code = "notification_not_found"
    detail = "There is no notification {notification_id}."

    notification_id: NotificationId


class NotFailed(Conflict):
    code = "not_failed"
    detail = "Only a notification that failed can be sent again; {notification_id} is {state}."

    notification_id: NotificationId
    state: str
