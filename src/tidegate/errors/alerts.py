"""Expected failures of alerts, each with a stable code. `errors` has them too."""

from __future__ import annotations

from tidegate.errors.kinds import Kind, TidegateError


class UnknownAlert(TidegateError):
    """No alert has this id."""

    code, kind = "unknown_alert", Kind.NOT_FOUND


class UnknownSilence(TidegateError):
    """No silence has this id."""

    code, kind = "unknown_silence", Kind.NOT_FOUND


class UnknownNotifier(TidegateError):
    """No notifier has this name."""

    code, kind = "unknown_notifier", Kind.NOT_FOUND


class UnknownDelivery(TidegateError):
    """No delivery has this number, or it is forgotten."""

    code, kind = "unknown_delivery", Kind.NOT_FOUND


class DeliveryFailed(TidegateError):
    """The message could not be delivered: it is sent again."""

    code, kind = "delivery_failed", Kind.UNAVAILABLE


class DeliveryRefused(DeliveryFailed):
    """The message is not taken there, and would not be taken when sent again."""

    code, kind = "delivery_refused", Kind.UNFIT
