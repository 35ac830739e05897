from portico.kit import NotFound


class TicketNotFound(NotFound):
    detail = "This ticket was used, has expired or never was. Ask for a new one."
