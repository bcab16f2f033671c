"""/notifications/{user_id}/devices: browsers that receive pushes."""

from urllib.parse import urlsplit
from uuid import UUID

from chassis.base.problems import Invalid, NotFound
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.notifications.channels import push
from services.notifications.models import Contact, ContactUnknown, Device
from services.notifications.schemas import DeviceList, DeviceView, NewDevice, PushKeyView
from services.notifications.settings import Settings


class PushKey(Resource):
    @endpoint(allow=auth.ANYONE, raises=[NotFound])
    def get(self) -> PushKeyView:
        """The key a browser needs to subscribe; 404 if this shop sends no pushes."""
        settings = Settings.current()
        if not settings.vapid_key.get_secret_value():
            raise NotFound("This shop sends no pushes.")
        return PushKeyView(key=push.public_key(settings))


class Devices(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> DeviceList:
        """The user's devices, oldest first."""
        _expect_own(user_id)
        return DeviceList(items=[_view(device) for device in Device.of(user_id)])

    @endpoint(allow=auth.OWNER, status=201, location="/notifications/{user_id}/devices/{id}")
    def post(self, user_id: UUID, body: NewDevice) -> DeviceView:
        """Register a browser's push subscription. Repeating it gives the same device."""
        _expect_own(user_id)
        if not push.is_allowed(body.endpoint, Settings.current()):
            raise Invalid.fields(("endpoint", "is not a known push service"))
        try:
            # Locked: a deleted account gets no new device.
            if Contact.get_for_update(user_id).is_deleted:
                raise NotFound("User not found.")
        except ContactUnknown as error:
            raise NotFound(str(error)) from error
        return _view(Device.register(user_id, body.endpoint, body.keys.p256dh, body.keys.auth))


class OneDevice(Resource):
    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, user_id: UUID, device_id: UUID) -> None:
        """Stop pushes to this device."""
        _expect_own(user_id)
        Device.remove(user_id, device_id)


def _expect_own(user_id: UUID) -> None:
    if not auth.caller().owns(user_id):
        raise NotFound("User not found.")


def _view(device: Device) -> DeviceView:
    host = urlsplit(device.endpoint).hostname or ""
    return DeviceView(id=device.id, user_id=device.user_id, service=host, created_at=device.created_at)
