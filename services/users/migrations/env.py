from chassis.storage import migrate

migrate.run()
