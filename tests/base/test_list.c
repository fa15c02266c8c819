#include "base/list.h"

#include <criterion/criterion.h>

typedef struct item {
    int value;
    list link;
} item;

static item items[4] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};

/* The values on a list read as the digits of a number. */
static int digits_of(const list *head)
{
    int digits = 0;
    LIST_EACH (node, head)
        digits = digits * 10 + CONTAINER_OF(node, item, link)->value;
    return digits;
}

Test(list, keeps_the_order_of_both_ends)
{
    list head;
    list_init(&head);
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    cr_assert_eq(digits_of(&head), 123);
}

Test(list, gives_the_first_node_until_it_is_empty)
{
    list head;
    list_init(&head);
    list_push_back(&head, &items[0].link);
    list_push_back(&head, &items[1].link);
    cr_assert_eq(list_pop_front(&head), &items[0].link);
    cr_assert(list_empty(&items[0].link));
    cr_assert_eq(list_pop_front(&head), &items[1].link);
    cr_assert_null(list_pop_front(&head));
    cr_assert(list_empty(&head));
}

Test(list, forgets_a_node_that_is_removed_twice_only_once)
{
    list head;
    list_init(&head);
    for (int i = 0; i < 3; i++)
        list_push_back(&head, &items[i].link);
    list_remove(&items[1].link);
    list_remove(&items[1].link);
    cr_assert_eq(digits_of(&head), 13);
}

Test(list, moves_everything_behind_what_is_there)
{
    list to, from;
    list_init(&to);
    list_init(&from);
    list_push_back(&to, &items[0].link);
    list_push_back(&from, &items[2].link);
    list_push_back(&from, &items[3].link);
    list_move_all(&to, &from);
    cr_assert_eq(digits_of(&to), 134);
    cr_assert(list_empty(&from));
    list_move_all(&to, &from);
    cr_assert_eq(digits_of(&to), 134);
}
