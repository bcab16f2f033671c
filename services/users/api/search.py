"""/users/search: staff find every account, customers those who want to be found."""

from chassis.base.problems import Forbidden
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.users import search
from services.users.schemas import FoundPage, FoundView, SearchQuery


class Search(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: SearchQuery) -> FoundPage:
        """Accounts by the beginning of a name, a username or an e-mail address (staff only), in the order of what was sought.

        A page may hold fewer than `limit` where more follow; the end is where `next` is null.
        """
        is_staff = auth.caller().is_staff
        if query.email is not None and not is_staff:
            # A prefix that may be tried letter by letter would tell the address of anybody.
            raise Forbidden("Only staff search by e-mail address.")
        users, following = search.found(query, only_public=not is_staff)
        return FoundPage(items=[FoundView.of(user, is_staff) for user in users], next=following)
