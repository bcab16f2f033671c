"""What is recommended, beside a product and to a customer, as confirmed orders come in."""

import random
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from bench import recommendations as bench
from contracts.orders import Line, OrderConfirmed
from contracts.users import UserDeleted
from services.products import recommendations
from services.products.models import Affinity, Basket, Taste, affinity
from services.products.models.affinity import MAX_NEIGHBOURS, Neighbour, counted_with
from services.products.recommendations import likeness
from tests.products.conftest import CUSTOMER


@pytest.fixture
def buy(deliver):
    """Delivers a confirmed order of these products; gives the message."""

    def confirm(*products, user_id=None):
        lines = [Line(UUID(product["id"]), product["name"], 1, 100) for product in products]
        event = OrderConfirmed(uuid4(), user_id or uuid4(), lines, 100, "EUR")
        assert deliver(event) is None
        learn_all()
        return event

    return confirm


def learn_all():
    while recommendations.learn():
        pass


def names(response):
    assert response.status_code == 200, response.text
    return [(item["because"], item["product"]["name"]) for item in response.json["items"]]


@pytest.fixture
def shop(add):
    """Five products on sale of two categories, by name."""
    wanted = {"kettle": "kitchen", "pot": "kitchen", "tea": "food", "coffee": "food", "cup": "kitchen"}
    return {name: add(name=name, category=category, stock_quantity=9) for name, category in wanted.items()}


def test_products_bought_together_are_recommended_the_most_alike_first(http, shop, buy):
    for _ in range(3):
        buy(shop["kettle"], shop["tea"])
    buy(shop["kettle"], shop["coffee"])
    for _ in range(5):
        buy(shop["cup"], shop["coffee"])
    path = f"/products/{shop['kettle']['id']}/recommendations"
    found = names(http.get(path))
    assert found[:2] == [("bought_together", "tea"), ("bought_together", "coffee")]
    assert set(found[2:]) == {("popular_in_category", "pot"), ("popular_in_category", "cup")}
    assert names(http.get(f"{path}?limit=1")) == [("bought_together", "tea")]


def test_beside_a_product_never_bought_best_sellers_are_recommended(http, shop, stocked, deliver):
    from tests.products.test_ledger import sell

    sell(deliver, UUID(shop["cup"]["id"]), 2)
    sell(deliver, UUID(shop["tea"]["id"]), 3)
    found = names(http.get(f"/products/{shop['kettle']['id']}/recommendations"))
    assert found == [
        ("popular_in_category", "cup"),
        ("popular_in_category", "pot"),
        ("popular", "tea"),
        ("popular", "coffee"),
    ]


def test_what_cannot_be_bought_is_not_recommended(http, staff, shop, buy, add):
    gone = add(name="gone", stock_quantity=0)
    buy(shop["kettle"], shop["tea"], gone)
    http.delete(f"/products/{shop['tea']['id']}", headers=staff)
    found = dict(map(reversed, names(http.get(f"/products/{shop['kettle']['id']}/recommendations"))))
    assert set(found) == {"pot", "cup", "coffee"}
    assert http.get(f"/products/{shop['tea']['id']}/recommendations").status_code == 404
    assert http.get(f"/products/{uuid4()}/recommendations").status_code == 404


def test_a_customer_is_recommended_what_goes_with_what_they_bought(http, customer, shop, buy):
    for _ in range(3):
        buy(shop["kettle"], shop["tea"], shop["cup"])
    buy(shop["kettle"], shop["cup"], user_id=CUSTOMER)
    assert names(http.get("/products/recommendations", headers=customer)) == [
        ("bought_together", "tea"),
        ("popular_in_category", "pot"),
        ("popular", "coffee"),
    ]


def test_a_new_customer_gets_best_sellers_and_an_anonymous_one_has_to_log_in(http, customer, shop):
    assert {because for because, _ in names(http.get("/products/recommendations", headers=customer))} == {"popular"}
    assert http.get("/products/recommendations").status_code == 401
    assert http.get("/products/recommendations?limit=0", headers=customer).status_code == 422


def test_an_order_counts_once_however_often_it_is_delivered(shop, buy, deliver):
    first = buy(shop["kettle"], shop["tea"])
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(deliver, [first] * 4)) == {None}
    learn_all()
    orders = [OrderConfirmed(uuid4(), uuid4(), first.lines, 100, "EUR") for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(deliver, orders * 2)) == {None}
    # Of concurrent workers one counts.
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: recommendations.learn(), range(8)):
            pass
    learn_all()
    assert Basket.waiting(100) == []
    [affinity] = Affinity.of([shop["kettle"]["id"]]).values()
    assert (affinity.orders, [each.count for each in affinity.neighbours]) == (5, [5])


def test_many_orders_are_counted_in_batches(shop, deliver):
    wanted = 2 * recommendations.BATCH + 1
    for _ in range(wanted):
        Basket.put(uuid4(), CUSTOMER, [UUID(shop[name]["id"]) for name in ("kettle", "tea")])
    assert [recommendations.learn() for _ in range(3)] == [True, True, False]
    [affinity] = Affinity.of([shop["kettle"]["id"]]).values()
    assert (affinity.orders, [each.count for each in affinity.neighbours]) == (wanted, [wanted])
    assert not Basket.objects(user_id__exists=True)


def test_counting_an_order_resumes_after_a_crash(shop, deliver):
    ids = sorted(shop[name]["id"] for name in ("kettle", "tea", "cup"))
    lines = [Line(UUID(product_id), "", 1, 100) for product_id in ids]
    event = OrderConfirmed(uuid4(), uuid4(), lines, 300, "EUR")
    deliver(event)
    # It crashed before the basket was closed.
    affinity.count({str(event.order_id): ids})
    learn_all()
    deliver(event)
    learn_all()
    assert [each.orders for each in Affinity.of(ids).values()] == [1, 1, 1]


def test_a_deleted_customers_purchases_are_erased_for_good(http, customer, shop, buy, deliver):
    buy(shop["kettle"], user_id=CUSTOMER)
    assert Taste.bought_by(CUSTOMER) == [shop["kettle"]["id"]]
    deliver(UserDeleted(CUSTOMER))
    buy(shop["tea"], user_id=CUSTOMER)
    assert Taste.bought_by(CUSTOMER) == []
    unknown = uuid4()
    deliver(UserDeleted(unknown))
    buy(shop["tea"], user_id=unknown)
    assert Taste.bought_by(unknown) == []


def test_a_products_list_is_bounded_and_keeps_frequent_neighbours():
    neighbours: list[Neighbour] = []
    for number in range(10 * MAX_NEIGHBOURS):
        neighbours = counted_with(neighbours, ["often", f"once-{number}"] if number % 3 == 0 else [f"once-{number}"])
    assert len(neighbours) == MAX_NEIGHBOURS
    often = next(each for each in neighbours if each.product_id == "often")
    assert often.certain == 10 * MAX_NEIGHBOURS // 3 + 1
    assert max(each.certain for each in neighbours if each is not often) == 1


def test_likeness_depends_on_how_often_each_is_bought_and_on_how_many_orders():
    assert likeness(10, 10, 10) > likeness(10, 10, 100) > likeness(10, 100, 100)
    assert likeness(20, 20, 20) > likeness(1, 1, 1)
    assert likeness(0, 5, 5) == 0


def test_recommendations_find_a_planted_structure_better_than_best_sellers(products):
    world = bench.shop(products=60, orders=200, seed=3)
    found = bench.beside_products(world, bench.learn(world), random.Random(3))
    assert found.rate("bought together") > 1.25 * found.rate("best sellers")
    assert found.rate("bought together") > 1.25 * found.rate("best sellers of the category")
