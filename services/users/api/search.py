"""User search."""

from chassis.base.problems import Forbidden
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.users import search
from services.users.schemas import SearchQuery, UserSummary, UserSummaryPage


class Search(Resource):
    @endpoint(allow=auth.CUSTOMER, may_be_stale=True)
    def get(self, query: SearchQuery) -> UserSummaryPage:
        """Accounts by prefix of name, username or, for staff, e-mail address. Customers find public accounts only.

        A page may hold fewer than `limit`; the last has a null `next`.
        """
        is_staff = auth.caller().is_staff
        if query.email is not None and not is_staff:
            raise Forbidden("Only staff can search by e-mail address.")
        users, cursor = search.find(query, only_public=not is_staff)
        return UserSummaryPage(items=[UserSummary.of(user, is_staff) for user in users], next=cursor)
