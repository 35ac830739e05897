from portico.kit import NotFound


class TicketNotFound(NotFound):
    code = "ticket_not_found"
    detail = "This ticket was used, has expired or never was. Ask for a new one."
